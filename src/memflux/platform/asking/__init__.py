"""Several analyses put to one model at once: from a file of questions to a folder of answers."""
