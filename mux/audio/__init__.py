"""Format tokens, resampling, G.711, MP3, Opus, WAV files, and the loudspeaker."""
