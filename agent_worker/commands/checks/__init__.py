"""What `doctor` tries rather than assumes: each file one part of a call, each check a finding."""

from .finding import Finding
from .installation import look_at_installation
from .program import try_program
from .run import run_checks

__all__ = ["Finding", "look_at_installation", "run_checks", "try_program"]
