"""What a person does with a checkpoint: read a text."""
