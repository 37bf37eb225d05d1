#!/usr/bin/env perl
# Telephone calls of a hospital ward: files in a format that needs a converter, so wav.scp holds commands. The call
# sheet is a table: call, caller, sex, file. Made unsorted; utils/ puts it in order.
# Usage: local/ward_calls_prep.pl <corpus> <data-dir> [<converter>]
use strict;
use warnings;

if (@ARGV < 2 || @ARGV > 3) {
  print STDERR "Usage: $0 <corpus> <data-dir> [<converter>]\n";
  exit(1);
}
my ($corpus, $out, $convert) = @ARGV;
$convert = "cat" unless defined $convert;
if (system("mkdir -p $out") != 0) { die "Error making directory $out"; }

open(my $sheet, "<", "$corpus/calls.tab") || die "Could not open $corpus/calls.tab";
open(my $wav, ">", "$out/wav.scp") || die "Could not write to $out/wav.scp";
open(my $u2s, ">", "$out/utt2spk") || die "Could not write to $out/utt2spk";
open(my $gender, "|-", "sort -u > $out/spk2gender") || die "Could not write to $out/spk2gender";
while (<$sheet>) {
  chomp;
  next if m/^#/ || m/^\s*$/;
  my ($call, $caller, $sex, $file) = split("\t");
  my $speaker = "w" . $caller;
  my $utterance = sprintf("%s-call%03d", $speaker, $call);
  print $wav "$utterance $convert $corpus/$file |\n";
  print $u2s "$utterance $speaker\n";
  print $gender "$speaker ", ($sex eq "female" ? "f" : "m"), "\n";
}
close($sheet);
close($wav) || die;
close($u2s) || die;
close($gender) || die;

if (system("perl utils/utt2spk_to_spk2utt.pl $out/utt2spk > $out/spk2utt") != 0) {
  die "Error creating spk2utt file in directory $out";
}
system("env LC_COLLATE=C utils/fix_data_dir.sh $out") == 0 || die "Error fixing $out";
if (system("env LC_COLLATE=C utils/validate_data_dir.sh --no-text --no-feats $out") != 0) {
  die "Error validating directory $out";
}
system("bash utils/data/get_utt2dur.sh $out") == 0 || die "Error finding durations in $out";
