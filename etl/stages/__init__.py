"""The stages. Each has one name for code, image, task and page of docs."""
