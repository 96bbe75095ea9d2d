"""A linear model: reads data/train.csv and data/test.csv, writes submission.csv."""

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ID, TARGET = "$id", "$target"
CLASSES = "$is_classes" == "True"  # whether the target is a class, or a number
STRENGTH = 1.0  # of the penalty on large coefficients
MOST_VALUES = 20  # of a column of words, the rarer ones put together
FOLDS = 5

train = pd.read_csv("data/train.csv")
test = pd.read_csv("data/test.csv")
y = train.pop(TARGET)
y = y.astype(str) if CLASSES else y

numbers = train.select_dtypes("number").columns.drop(ID, errors="ignore")
words = train.columns.drop(numbers).drop(ID, errors="ignore")
features = make_column_transformer(
    (make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), list(numbers)),
    (OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_VALUES), list(words)),
)
learner = LogisticRegression(C=1 / STRENGTH, max_iter=1000) if CLASSES else Ridge(alpha=STRENGTH)
model = make_pipeline(features, learner)

score = cross_val_score(model, train, y, cv=FOLDS).mean()
print(f"{'accuracy' if CLASSES else 'r2'} in {FOLDS} parts of the training data, each left out once: {score:.4f}")

model.fit(train, y)
pd.DataFrame({ID: test[ID], TARGET: model.predict(test)}).to_csv("submission.csv", index=False)
