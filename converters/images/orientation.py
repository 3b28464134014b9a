"""A note on images that are not upright."""


def turned_note(count: int, turn: bool) -> str | None:
    """Returns a sentence on images with an EXIF orientation; None if there are none or they were turned."""
    if turn or not count:
        return None
    images = "1 image is" if count == 1 else f"{count} images are"
    return f"{images} read as stored, though the EXIF orientation is not upright; --upright turns such images."
