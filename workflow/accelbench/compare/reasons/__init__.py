"""Candidate reasons for a difference: what each predicts, how records decide it, and the measurement that would."""
