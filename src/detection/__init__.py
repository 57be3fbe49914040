"""Finding faces in pictures, and telling a face that was cut out from a photo."""
