#!/usr/bin/perl
#
# Speech from the net: a list of clips as a download tool leaves it (any order, some twice, DOS line ends), and a
# protocol of pairs. Usage: wild_prep.pl /corpora/wild data

use warnings;

if (@ARGV != 2) {
  print STDERR "Usage: $0 <corpus> <data>\n";
  print STDERR "e.g. $0 /corpora/wild data\n";
  exit(1);
}
($base, $data) = @ARGV;

foreach $set ("train", "test") {
  $dir = "$data/$set";
  system("mkdir -p $dir") == 0 or die "Could not make $dir";
  open(CLIPS, "<", "$base/$set.lst") or die "Could not open $base/$set.lst";
  open(WAV, ">", "$dir/wav.scp") or die "Could not open $dir/wav.scp";
  open(SPKR, ">", "$dir/utt2spk") or die "Could not open $dir/utt2spk";
  while (my $line = <CLIPS>) {
    $line =~ s/[\r\n]+$//;
    my ($person, $video, $clip) = split("/", $line);
    $clip =~ s/\.wav$//;
    my $id = "$person-$video-$clip";
    next unless -e "$base/wav/$line";
    print WAV "$id $base/wav/$line", "\n";
    print SPKR "$id $person", "\n";
  }
  close(SPKR) or die;
  close(WAV) or die;
  close(CLIPS) or die;
  if (system("utils/utt2spk_to_spk2utt.pl $dir/utt2spk >$dir/spk2utt") != 0) {
    die "Error creating spk2utt file in directory $dir";
  }
  system("env LC_COLLATE=C utils/fix_data_dir.sh $dir");
  if (system("env LC_COLLATE=C utils/validate_data_dir.sh --no-text --no-feats $dir") != 0) {
    die "Error validating directory $dir";
  }
}

open(PAIRS, "<", "$base/pairs.txt") or die "Could not open $base/pairs.txt";
open(TRIALS, "| sort | uniq > $data/test/trials") or die "Could not open $data/test/trials";
while (<PAIRS>) {
  s/\r?\n$//;
  my ($same, @clips) = split(/\s+/, $_);
  foreach (@clips) { s/\.wav$//; s:/:-:g; }
  print TRIALS "@clips ", ($same == 1) ? "target" : "nontarget", "\n";
}
close(PAIRS) or die;
close(TRIALS) or die;
