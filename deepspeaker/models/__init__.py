"""Speaker-embedding networks, and what each promises.

A network is a `Network` (base.py), and

- it is built from num_mel_bins (F) and keyword-only plain arguments, the keys of the configuration's section [model];
- forward(features (B, T, F), ends=None) -> embeddings (B, E) of unit length, in float32 or float64, for any T >= 1.
  What follows pooling is computed in at least float32, under autocast, too (base.py);
- `ends` says where the utterances of a padded batch end (padding.py). In evaluation mode, each utterance then gets the
  embedding that it gets alone;
- the attribute `embedding_dim` is E;
- where training draws random numbers (dropout), the class says `random_in_training = True`.

networks.py NETWORKS: the networks by name
base.py     the type of a network, and the end of each: pooling, affine, unit length
rescnn.py   "rescnn": the residual network of the Deep Speaker paper
gru.py      "gru": the recurrent network of the same paper
resnet.py   "resnet": ResNet34 and the like
ecapa.py    "ecapa": ECAPA-TDNN
campplus.py "campplus": CAM++
pooling.py  pooling over time
padding.py  utterances of different lengths in one batch

tests/test_models.py checks the promise for every name here. A new network is one file, one line in NETWORKS of
networks.py, and its smallest arguments in that test.
"""
