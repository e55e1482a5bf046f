"""Honest backtests: rolling origins, metrics, leaderboard, selection."""
