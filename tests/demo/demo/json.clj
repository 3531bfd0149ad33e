(ns demo.json
  "Data as JSON, as much of it as the demo needs."
  (:require [clojure.string :as str]))

(defn- string [x]
  (str \" (str/replace (str x) #"[\"\\\x00-\x1f]" #(format "\\u%04x" (int (first %)))) \"))

(defn write [x]
  (cond
    (map? x)        (str "{" (str/join ", " (for [[k v] x] (str (string (name k)) ": " (write v)))) "}")
    (sequential? x) (str "[" (str/join ", " (map write x)) "]")
    (keyword? x)    (string (name x))
    (nil? x)        "null"
    (or (number? x) (boolean? x)) (str x)
    :else           (string x)))

(defn response [x]
  {:status  200
   :headers {"Content-Type" "application/json; charset=utf-8" "Cache-Control" "no-store"}
   :body    (write x)})
