"""Readers: whatever a training run left behind becomes charts. `osler.doctor.readers.choose` picks one by a file's content."""
