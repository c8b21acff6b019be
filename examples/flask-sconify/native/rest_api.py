"""A small REST API over HTTPS: the patients of a hospital, in memory, each with a score."""

from __future__ import annotations

import random

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import BadRequest, MethodNotAllowed

FIELDS = (
    *("fname", "lname", "address", "city", "state", "ssn", "email", "dob", "contactphone", "drugallergies"),
    *("preexistingconditions", "dateadmitted", "insurancedetails"),
)
app = Flask(__name__)
patients: dict[str, dict[str, object]] = {}


def refused(status: int, message: str) -> tuple[Response, int]:
    return jsonify(message=message), status


@app.post("/patient/<patient>")
def new_patient(patient: str) -> object:
    entry = {field: request.form[field] for field in FIELDS} | {"id": patient, "score": random.random()}
    if patients.setdefault(patient, entry) is not entry:
        return refused(403, "there is a patient with this id")
    return jsonify(entry)


@app.get("/patient/<patient>")
def the_patient(patient: str) -> object:
    return jsonify(entry) if (entry := patients.get(patient)) else refused(404, "there is no patient with this id")


@app.get("/score/<patient>")
def score(patient: str) -> object:
    if entry := patients.get(patient):
        return jsonify(id=patient, score=entry["score"])
    return refused(404, "there is no patient with this id")


@app.errorhandler(BadRequest)
@app.errorhandler(MethodNotAllowed)
def not_possible(error: BadRequest | MethodNotAllowed) -> object:
    return refused(error.code, error.description or error.name)


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=4996, threaded=True, ssl_context=("/tls/flask.crt", "/tls/flask.key"))
