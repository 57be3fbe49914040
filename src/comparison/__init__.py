"""Which of several runs is better: paired tests, a leaderboard, and their page."""
