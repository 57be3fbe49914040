"""Finding faces in images, and telling a face that was cut out from a photo."""
