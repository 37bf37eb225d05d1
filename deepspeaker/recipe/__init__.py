"""The recipe as a whole: which parts are due, what they were made from, results, the report (stage 7)."""
