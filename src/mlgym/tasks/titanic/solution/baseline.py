"""A better solution: who was saved together, titles and fares a head, in the mean of two models.

Women and boys of one ticket or one family mostly lived or died together. What is known of the others is the feature
that counts, each passenger's own fate left out. Chosen by cross-validation on data/train.csv alone.
"""

import os

import numpy as np
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = int(os.environ.get("SEED", "0"))
COMMON = {"Mlle": "Miss", "Ms": "Miss", "Mme": "Mrs"}


def features(known: pd.DataFrame, asked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The features of both tables; the outcomes of `known` alone are used."""
    people = pd.concat([known, asked.assign(Survived=np.nan)], ignore_index=True)
    title = people["Name"].str.extract(r", ([^.]+)\.", expand=False).replace(COMMON)
    title = title.where(title.isin(["Mr", "Miss", "Mrs", "Master"]), "Rare")
    woman, boy = people["Sex"] == "female", title == "Master"
    age = people["Age"].fillna(people["Age"].groupby(title).transform("median"))
    relatives = people["SibSp"] + people["Parch"]
    heads = people.groupby("Ticket")["Ticket"].transform("count")
    table = pd.DataFrame(
        {
            "Woman": woman,
            "Boy": boy,
            "Class": people["Pclass"],
            "Age": age,
            "Family": relatives + 1,
            "Fare": np.log1p(people["Fare"].fillna(people["Fare"].median()) / heads),
            "Cabin": people["Cabin"].notna(),
            "Southampton": people["Embarked"] == "S",
        }
    ).astype(float)
    family = people["Name"].str.split(",").str[0] + people["Pclass"].astype(str) + relatives.astype(str)
    fate = people["Survived"].where(woman | boy)
    for name, group in (("Ticket", people["Ticket"]), ("Surname", family)):
        saved = fate.groupby(group).transform("sum") - fate.fillna(0)
        others = fate.groupby(group).transform("count") - fate.notna()
        table[name] = (saved + 0.5) / (others + 1)
    return table[: len(known)], table[len(known) :]


def fitted(known: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
    models = [
        ("line", make_pipeline(StandardScaler(), LogisticRegression(C=0.3))),
        (
            "trees",
            GradientBoostingClassifier(
                n_estimators=150, learning_rate=0.05, max_depth=3, subsample=0.7, max_features=0.5, random_state=SEED
            ),
        ),
    ]
    x, x_asked = features(known, asked)
    return VotingClassifier(models, voting="soft").fit(x, known["Survived"]).predict(x_asked)


train = pd.read_csv("data/train.csv")
test = pd.read_csv("data/test.csv")
folds = StratifiedKFold(5, shuffle=True, random_state=SEED).split(train, train["Survived"])
right = [(fitted(train.iloc[a], train.iloc[b]) == train["Survived"].iloc[b]).mean() for a, b in folds]
print(f"accuracy in 5 parts of the training data, each left out once: {np.mean(right):.3f}")

predicted = fitted(train, test).astype(int)
pd.DataFrame({"PassengerId": test["PassengerId"], "Survived": predicted}).to_csv("submission.csv", index=False)
