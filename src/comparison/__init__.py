"""Comparison of runs: paired tests, a leaderboard, and their page."""
