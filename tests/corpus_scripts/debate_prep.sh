#!/usr/bin/env bash
# Debates: each recording has two speakers, and a file of marks: start end side. Speakers come from a table
# (recording for against). Segments are lengthened a little, and those of under half a second left out.
# Usage: debate_prep.sh [--min-duration 0.5] CORPUS DATA_DIR

. ./cmd.sh
set -e -o pipefail -u

min_duration=0.5
padding=0.1

. ./path.sh
. parse_options.sh || exit 1

if [ $# -ne 2 ]; then
  echo "Usage: $0 [--min-duration S] <corpus> <data-dir>"
  exit 1
fi
corpus=$1
data=$2
mkdir -p "$data"

for marks in "$corpus"/marks/*.txt; do
  recording=$(basename "$marks" .txt)
  awk -v recording="$recording" -v shortest="$min_duration" '
    NR == FNR { if ($1 == recording) { speaker["for"] = $2; speaker["against"] = $3 } next }
    $2 - $1 >= shortest {
      printf("%s-%s-%06.0f-%06.0f %s %.2f %.2f\n", speaker[$3], recording, $1 * 100, $2 * 100, recording, $1, $2)
    }' "$corpus/speakers.txt" "$marks"
done | sort >"$data/segments"

sed 's/-.*//' "$data/segments" | paste -d' ' <(cut -d' ' -f1 "$data/segments") - >"$data/utt2spk"
cut -d' ' -f2 "$data/segments" | sort -u | while read -r recording; do
  echo "$recording $corpus/audio/$recording.wav"
done >"$data/wav.scp"
awk '{print $1, $1, "A"}' "$data/wav.scp" >"$data/reco2file_and_channel"

utils/data/extend_segment_times.py --start-padding=$padding --end-padding=$padding \
  --last-segment-end-padding=0.0 <"$data/segments" >"$data/segments.padded"
mv "$data/segments.padded" "$data/segments"

utt2spk_to_spk2utt.pl "$data/utt2spk" >"$data/spk2utt"
fix_data_dir.sh "$data"
validate_data_dir.sh --no-text --no-feats "$data"
get_utt2dur.sh "$data" >/dev/null
get_reco2dur.sh "$data" >/dev/null
awk '{n[$2]++} END {for (s in n) print s, n[s]}' "$data/utt2spk" | sort >"$data/spk2num"
$train_cmd JOB=1:2 "$data/log/split.JOB.log" split_scp.pl -j 2 JOB --one-based "$data/utt2spk" "$data/utt2spk.JOB"
