(ns org-httpkit.hooks
  (:require [clj-kondo.hooks-api :as api]))

(defn with-channel
  "`(with-channel request channel body...)` as `(let [channel request] body...)`."
  [{:keys [node]}]
  (let [[request channel & body] (rest (:children node))]
    (when-not (and request (api/token-node? channel))
      (throw (ex-info "with-channel takes a request and a symbol for its channel" (meta node))))
    {:node (api/list-node
             (list* (api/token-node 'let)
                    (api/vector-node [channel request])
                    body))}))
