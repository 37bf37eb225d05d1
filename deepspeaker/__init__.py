"""Deep Speaker: speaker embeddings from Kaldi-style data, trained with softmax and triplet loss."""

__version__ = "0.1.0"
