"""Metrics of scored trials: values, 95 % intervals over speakers, and differences between two systems.

rates.py           EER, minDCF, actDCF, miss rate at a false-accept rate
likelihood.py      Cllr and minCllr
bootstrap.py       95 % intervals, by drawing speakers
sides.py           speakers of the two sides of a trial, and groups of trials by tables of the data directory
identification.py  closed-set identification, top 1 and top 5
breakdown.py       errors by groups of trials
describe.py        all metrics of a list; all results of a score file, as compute_metrics.py --json prints them
compare.py         differences between two systems

Scores (n,) float, higher means same speaker; labels (n,) bool, true: target; speakers (n, 2): of each trial's two
sides, numbered from 0. EERs, misses and identification in percent, Cllr in bits, costs normalised.
"""
