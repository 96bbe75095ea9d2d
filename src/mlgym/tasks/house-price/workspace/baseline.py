"""Ridge regression on house prices: reads data/train.csv and data/test.csv, writes submission.csv."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ALPHA = 0.1  # penalty of the ridge regression
LOG_PRICE = False  # fit the logarithm of the price instead of the price

train = pd.read_csv("data/train.csv")
test = pd.read_csv("data/test.csv")
price = train.pop("SalePrice")

numbers = train.select_dtypes("number").columns.drop("Id")
categories = train.columns.drop(numbers).drop("Id")
features = make_column_transformer(
    (make_pipeline(SimpleImputer(strategy="mean"), StandardScaler()), numbers),
    (
        make_pipeline(
            SimpleImputer(strategy="constant", fill_value="missing"),
            OneHotEncoder(handle_unknown="ignore"),
        ),
        categories,
    ),
)

model = make_pipeline(features, Ridge(alpha=ALPHA))
model.fit(train, np.log(price) if LOG_PRICE else price)
predicted = model.predict(test)
if LOG_PRICE:
    predicted = np.exp(predicted)

pd.DataFrame({"Id": test["Id"], "SalePrice": predicted}).to_csv("submission.csv", index=False)
