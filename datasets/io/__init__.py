"""Images, files and processes: strict codecs, atomic writes, untrusted input."""
