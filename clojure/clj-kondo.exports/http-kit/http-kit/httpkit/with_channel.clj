(ns httpkit.with-channel
  (:require [clj-kondo.hooks-api :as api]))

(defn with-channel
  "Shows `(with-channel request ch-name & body)` to the linter as
  `(let [ch-name request] & body)`, so that `ch-name` is known in `body`."
  [{:keys [node]}]
  (let [[request ch-name & body] (rest (:children node))]
    {:node
     (api/list-node
      (list* (api/token-node 'let)
             (api/vector-node [ch-name request])
             body))}))
