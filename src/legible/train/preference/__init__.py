"""Offline preference training on ranked explanations."""
