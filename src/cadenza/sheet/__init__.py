"""Sheet music of a Score: laid on a grid that people read, divided into staves and voices, spelled in its key, written."""

from cadenza.sheet.musicxml import musicxml, write_musicxml
from cadenza.sheet.notation import Sheet, notate

__all__ = ["Sheet", "musicxml", "notate", "write_musicxml"]
