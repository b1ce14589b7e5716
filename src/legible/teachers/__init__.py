"""Teachers: who writes the text that warm-starts verbalizer and reconstructor. One interface, five kinds."""

from legible.teachers.base import Explanation, Refusal, Teacher, count_taught, read_taught, teach
from legible.teachers.named import make_teacher

__all__ = ["Explanation", "Refusal", "Teacher", "count_taught", "make_teacher", "read_taught", "teach"]
