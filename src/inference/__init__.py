"""What a trained network is used for: predicting, evaluating others' weights, exporting. No training data is needed."""
