"""What can go wrong, as types. Every message is one sentence: what, where, and what to do.

CadenzaError
├── InputError        the user's input or options cannot be used (exit code 2)
│   ├── MidiError     a file is not readable as MIDI
│   └── ModelError    a model folder is missing, damaged or of another version
├── StorageError      the disk is full or fails (exit code 1)
└── TrainingError     training started and could not go on (exit code 1)
"""


class CadenzaError(Exception):
    """Base of every error raised on purpose."""


class InputError(CadenzaError):
    """Raised for input or options that cannot be used; the command line exits with 2."""


class MidiError(InputError):
    """Raised when bytes cannot be read as a Standard MIDI File."""


class ModelError(InputError):
    """Raised when a model folder is missing, damaged or written by another format version."""


class StorageError(CadenzaError):
    """Raised when the disk is full or fails while a file is written."""


class TrainingError(CadenzaError):
    """Raised when training has started and cannot go on; the command line exits with 1."""
