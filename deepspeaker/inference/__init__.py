"""A trained model in use: model.pt, its Python interface, and the command `deepspeaker`.

model            the Python interface: load a model, embed, compare, decide; `import deepspeaker` gives it
model_file       collects what model.pt holds beside the network
recordings       recordings as the model hears them, trials of them, verdicts
forks            a process that forks after it has used a model
sound_files      a user's sound files -> samples at the model's rate
speech_check     refuses silence, noise and music; measures length, level and clipping
calibrate        a new calibration on recordings of a user's own
answers          what verify, identify and enroll answer, as JSON
speaker_database enrolled speakers in an SQLite file
cli              the command line: options and help
commands         what each subcommand does
bulk             embeddings of many files in several threads
service/         `deepspeaker serve`
export_onnx      the network as an ONNX graph
"""
