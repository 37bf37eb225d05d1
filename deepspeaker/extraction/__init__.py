"""Stages 2 and 5: samples -> features in archives -> embeddings.

make_features.py    stage 2: archives of features and sound, the directory's tables, the 5 % rule for unreadable audio
fbank.py            samples -> log mel filterbank energies, VAD, normalisation
sound_quality.py    level, signal-to-noise ratio and the like, from the frames
feature_set.py      features or sound of a data directory, by utterance
gpu_archive.py      archives on a GPU: decompressing; training keeps whole archives there
embed.py            features -> embeddings: whole utterances or crops, in padded batches
make_embeddings.py  stage 5: one job's archive of embeddings
join_embeddings.py  stage 5: the archives of all jobs as one, and the mean of each speaker
parallel_jobs.py    both: a job's share of the utterances, its files, the progress of all jobs
"""
