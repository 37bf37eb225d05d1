"""The recipe as a whole: what run.sh decides, records, counts and reports.

options     run.sh's options, checked and completed
stages      the parts of each stage: inputs, settings, outputs
records     what each part was made from; decides whether it is up to date
plan        which parts of a stage are due, and the lines that say so
early       what later stages would refuse, told before hours are spent
phases      the phases of an experiment: which there are, and the network of each
disk_space  how much disk the features will need
results     results.tsv
report/     the page of stage 7
"""
