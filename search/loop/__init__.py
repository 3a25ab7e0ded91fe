"""The loop: suggest, score, learn, record. No Ray and no hydra in here."""
