"""Forecasts each series of data/history.csv by the mean of its last values, as submission.csv."""

import csv

import numpy as np

PERIOD = 2  # values so many steps apart are alike
WINDOW = 12  # how many periods are averaged
DRIFT = 0.0  # how much of the drift between the two halves of the past goes on
CLIP = 0.0  # values farther than so many standard deviations from the middle are brought nearer; 0: none

with open("data/history.csv", newline="") as file:
    header, *rows = csv.reader(file)
with open("data/sample_submission.csv", newline="") as file:
    head, *asked = csv.reader(file)
past = np.array([[float(value) if value else np.nan for value in row[1:]] for row in rows])
times = np.arange(len(past))
half = len(past) // 2
drift = DRIFT * (np.nanmean(past[half:], axis=0) - np.nanmean(past[:half], axis=0)) / half
past = past - times[:, None] * drift
if CLIP:
    middle, spread = np.nanmedian(past, axis=0), np.nanstd(past, axis=0)
    past = np.clip(past, middle - CLIP * spread, middle + CLIP * spread)

answers = []
for id, _ in asked:
    name, _, time = id.partition("@")
    n, t = header.index(name) - 1, int(time)
    alike = past[(t - times) % PERIOD == 0, n][-WINDOW:]
    alike = alike[~np.isnan(alike)]
    level = alike.mean() if len(alike) else np.nanmean(past[:, n])
    answers.append([id, f"{level + drift[n] * t:.4f}"])
with open("submission.csv", "w", newline="") as file:
    csv.writer(file).writerows([head, *answers])
