"""Six tables that no loader knows, in the layouts that people have, with the flags that train them.

All rows are generated; a label depends on the item and, the other way round, on the domain.
"""

import numpy as np
import pandas as pd

ROWS, USERS, ITEMS = 1500, 60, 40
START = 1_600_000_000


def _rows(seed, domains):
    """(generator, user, item, domain (ROWS,), odds of a positive label (ROWS,))."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
    domain = rng.integers(0, domains, ROWS)
    score = (item % 8 - 3.5) * np.where(domain % 2, -1, 1)
    return rng, user, item, domain, 1 / (1 + np.exp(-score))


def ml_latest(folder):
    rng, user, item, genre, odds = _rows(1, 3)
    item = item * 3 + genre  # a movie has its genres
    stars = np.where(rng.random(ROWS) < odds, 4.5, 2.5)
    when = START + rng.integers(0, 10**7, ROWS)
    ratings = pd.DataFrame(dict(userId=user, movieId=item, rating=stars, timestamp=when))
    ratings.to_csv(folder / "ratings.csv", index=False)
    movies = pd.DataFrame({"movieId": range(3 * ITEMS)})
    movies["title"] = [f'Film {n}, "again" (1999)' for n in movies["movieId"]]
    movies["genres"] = [("Drama|War", "Comedy", "Action|Drama")[n % 3] for n in movies["movieId"]]
    movies.to_csv(folder / "movies.csv", index=False)
    return ["--table", "ratings.csv", "--join", "movies.csv", "--domain", "genres:first"]


def u_data(folder):
    rng, user, item, _, _ = _rows(2, 1)
    age = np.array([20, 30, 40])[np.arange(USERS) % 3]
    stars = np.where(rng.random(ROWS) < np.where(item % 2, 0.8, 0.3), 5, 2)
    lines = zip(user + 1, item + 1, stars, START + rng.integers(0, 10**7, ROWS))
    (folder / "u.data").write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    people = (
        f"{n + 1}|{age[n]}|{'MF'[n % 2]}|{('student', 'writer')[n % 2]}|{n:05d}\n"
        for n in range(USERS)
    )
    (folder / "u.user").write_text("".join(people))
    return ["--table", "u.data", "--join", "u.user"]


def clicks(folder):
    rng, user, item, country, odds = _rows(3, 5)
    frame = pd.DataFrame({"user": [f"u-{n:04x}" for n in user], "item": [f"00{n}" for n in item]})
    frame["country"] = np.array(["NL", "FR", "DE", "ES", "US"])[country]
    frame["price"] = np.where(rng.random(ROWS) < 0.1, np.nan, np.round(rng.random(ROWS) * 90, 2))
    frame["at"] = pd.to_datetime(START + rng.integers(0, 10**7, ROWS), unit="s")
    frame["click"] = (rng.random(ROWS) < odds).astype(int)
    frame.to_parquet(folder / "clicks.parquet")
    return ["--table", "clicks.parquet", "--label", "click", "--domain", "country", "--time", "at"]


def adult(folder):
    rng, _, item, gender, odds = _rows(4, 2)
    frame = pd.DataFrame({"age": 17 + item, "workclass": np.array(["Private", "?"])[item % 2]})
    frame["fnlwgt"] = rng.integers(10_000, 10**6, ROWS)
    frame["marital-status"] = np.array(["Divorced", "Never-married"])[(item < 15).astype(int)]
    frame.loc[rng.random(ROWS) < 0.2, "marital-status"] = "Never-married"
    frame["gender"] = np.array(["Male", "Female"])[gender]
    frame["income"] = np.where(rng.random(ROWS) < odds, ">50K", "<=50K")
    frame.to_csv(folder / "adult.csv", index=False)
    labels = "income==>50K,marital-status==Never-married"
    return ["--table", "adult.csv", "--label", labels, "--domain", "gender"]


def douban(folder):
    rng, user, item, domain, odds = _rows(5, 2)
    frame = pd.DataFrame(dict(user=user, item=item + 1000 * domain))
    frame["domain"] = np.array(["book", "music"])[domain]
    frame["rating"] = np.where(rng.random(ROWS) < odds, 5, 3)
    for name, part in frame.groupby("domain"):
        part.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    return ["--table", "book.tsv,music.tsv", "--label", "rating>3", "--domain", "domain"]


def kuairand(folder):
    rng, user, item, tab, odds = _rows(6, 4)
    when = (START + rng.integers(0, 10**6, ROWS)) * 1000
    frame = pd.DataFrame(dict(user_id=user, video_id=item, date=20220408, hourmin=1200))
    frame = frame.assign(time_ms=when, is_click=(rng.random(ROWS) < odds).astype(int))
    frame = frame.assign(is_like=0, play_time_ms=frame["is_click"] * 9000, duration_ms=9000)
    frame["tab"] = tab
    frame.to_csv(folder / "log_standard.csv", index=False)
    people = pd.DataFrame({"user_id": range(USERS), "user_active_degree": "full_active"})
    people.loc[::2, "user_active_degree"] = "high_active"
    people["register_days"] = rng.integers(8, 3000, USERS)
    people.to_csv(folder / "user_features_pure.csv", index=False)
    return ["--table", "log_standard.csv", "--join", "user_features_pure.csv"]


SIX = {each.__name__: each for each in (ml_latest, u_data, clicks, adult, douban, kuairand)}
