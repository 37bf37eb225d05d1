"""Training batches: P speakers x K utterances x T frames. In the order of use:

training_set.py    which utterances and which of their frames; drawing ahead in a thread
needs.py           speakers and utterances that there must be for a batch
visible_frames.py  which frames of an utterance a window may show (VAD)
feature_windows.py windows cut from feature archives, mapped or in GPU memory
masking.py         masks on frames and mel bins (SpecAugment)
"""
