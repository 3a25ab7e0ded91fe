"""What a detector is trained towards: anchors, matching, losses."""
