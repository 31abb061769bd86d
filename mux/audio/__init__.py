"""Format tokens, resampling, G.711, MP3, WAV files, and the loudspeaker."""
