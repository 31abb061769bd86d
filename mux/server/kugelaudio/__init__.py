"""KugelAudio's endpoints, beside ElevenLabs' on the same port."""
