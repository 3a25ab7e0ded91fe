"""Data sets: COCO files in, packs out. numpy only, no torch; imports none of the other packages."""
