"""Networks that other projects have trained, as checkpoints of this one. No code of theirs is run.

network.py   import_network: recognise a file, translate it, try it out, write it
weights.py   a file of weights, and what else a file may be
settings.py  WeSpeaker's config.yaml
campplus.py  CAM++ of 3D-Speaker and WeSpeaker
resnet.py    ResNets of WeSpeaker
ecapa.py     ECAPA-TDNNs of WeSpeaker
names.py     weights by their name here -> by their name there

A module of a network has SIGNATURE, the name of a weight that only this network has, and translate(file, settings),
which returns a Translation. deep_speaker.toml is a link to the recipe's file of this name: sections of a configuration
that say nothing about the network come from there.
"""
