"""Training batches: P speakers x K utterances x T frames. In the order of use:

training_set.py     who is drawn, and which frames of which utterances; batches a step ahead, in a thread
needs.py            speakers and utterances that there must be for a batch
visible_frames.py   which frames of an utterance a window may show (VAD)
feature_windows.py  windows cut from feature archives, mapped or in GPU memory
sound_windows.py    windows cut from sound archives ([augment] online): sound -> changes -> features
plan.py             which changes each window gets
sound_bank.py       the noises, music, talkers and rooms that it is changed with
speed.py            another speed, by a polyphase resampler
changes.py          rooms, added sounds, telephones
masking.py          masks on frames and mel bins (SpecAugment)
"""
