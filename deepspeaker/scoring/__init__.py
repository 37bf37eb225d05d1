"""Stage 6: embeddings and trial lists -> scores -> log-likelihood ratios. In the order of use:

inputs.py       a trial list, enrolment lists and embeddings, read into arrays
enrolment.py    speaker models, each the average of one or several utterances
backends.py     BACKENDS: the back-ends by name
cosine.py       back-end: cosines
asnorm.py       back-end: cosines normalised by a cohort (AS-norm); COHORT_TOP
plda.py         back-end: PLDA, its training and its adaptation
plda_files.py   a PLDA in Kaldi's files
needs.py        what a back-end or a quality needs beside embeddings: its keyword-only arguments
scorer.py       what every back-end returns, a Scorer: scores of listed pairs, and the best of all pairs
score_files.py  score files: lines `id1 id2 score`
quality.py      qualities of trials, such as signal-to-noise ratio, for calibration
calibration.py  scores -> log-likelihood ratios
calibration_set.py     a development set in all its conditions, which calibration learns from
calibration_trials.py  its trials: nontargets as hard as elsewhere
evidence.py     how calibration learns: weights of trials, qualities that hold for others, speakers held out
bounds.py       how far log-likelihood ratios are supported by the data
decisions.py    the decision threshold that follows from prior and costs

A back-end is a function of embeddings (U, E), models and keyword-only arguments that returns a Scorer; a new one is one
file and one line in BACKENDS of backends.py.
"""
