"""Raw files of MovieLens-1M written as the other releases have them."""

import csv

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


def rows_of(path):
    return [line.split("::") for line in path.read_text(encoding="latin-1").splitlines()]


def _write(path, separator, rows):
    text = "".join(separator.join(row) + "\n" for row in rows)
    path.write_text(text, encoding="latin-1")


def _write_csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header.split(","), *rows])


def write_release(folder, target, release):
    """The same ratings, half a star lower where there are half stars, which keeps the labels.

    Genres are in the order of the flags of 100K, occupations are text of two digits there.
    """
    target.mkdir()
    ratings, users, movies = (rows_of(folder / f"{n}.dat") for n in ("ratings", "users", "movies"))
    movies = [[m, t, "|".join(sorted(g.split("|"), key=GENRES.index))] for m, t, g in movies]
    lower = [[u, m, f"{float(r) - 0.5:g}", t] for u, m, r, t in ratings]
    if release == "ml-1m":
        _write(target / "ratings.dat", "::", ratings)
        _write(target / "users.dat", "::", users)
        _write(target / "movies.dat", "::", movies)
    elif release == "ml-100k":
        users = [[u, a, g, f"{o:>02}", z] for u, g, a, o, z in users]
        flags = [[str(int(name in g.split("|"))) for name in GENRES] for *_, g in movies]
        facts = [[m, t, "01-Jan-1995", "", "http://x"] for m, t, _ in movies]
        _write(target / "u.data", "\t", ratings)
        _write(target / "u.user", "|", users)
        _write(target / "u.item", "|", [f + g for f, g in zip(facts, flags)])
    elif release == "ml-10m":
        _write(target / "ratings.dat", "::", lower)
        _write(target / "movies.dat", "::", movies)
    else:
        titles = [[m, f'"{t}", again', g] for m, t, g in movies]
        _write_csv(target / "ratings.csv", "userId,movieId,rating,timestamp", lower)
        _write_csv(target / "movies.csv", "movieId,title,genres", titles)
    return target
