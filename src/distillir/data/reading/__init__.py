"""A folder of Markdown, text, HTML and PDF files to passages that keep their source and place."""

from distillir.data.reading.folder import note_long, read_file, read_folder
from distillir.data.reading.passages import WORDS, Passage, count_words, split
from distillir.data.reading.report import ReadingReport
from distillir.data.reading.walk import LARGEST, SUFFIXES, file_digest, folder_digest

__all__ = [
    "LARGEST",
    "SUFFIXES",
    "WORDS",
    "Passage",
    "ReadingReport",
    "count_words",
    "file_digest",
    "folder_digest",
    "note_long",
    "read_file",
    "read_folder",
    "split",
]
