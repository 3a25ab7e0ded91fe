"""Images of one class each: class folders and iNaturalist's JSON, made into COCO annotations."""
