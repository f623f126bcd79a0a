"""One stage, one image, one task, one page of docs, one name."""
