(ns client
  "The client: every function here takes the URL of a server to talk to."
  (:require [clojure.java.io    :as io]
            [org.httpkit.client :as http]))

(defn one
  "A request is sent immediately; deref waits for its response."
  [url]
  (let [{:keys [status body error]} @(http/get url {:timeout 5000})]
    ;; Nothing is thrown for a request that failed: look at :error.
    (if error
      (str "failed: " (ex-message error))
      (str status " " body))))

(defn many
  "Requests run side by side, over pooled connections; the slowest one decides how long all take."
  [urls]
  (let [results (mapv #(http/get % {:timeout 5000}) urls)]
    (mapv (comp :status deref) results)))

(defn with-callback
  "Calls `f` with the response, on a thread of the client's pool. Returns immediately."
  [url f]
  (http/get url {:query-params {:q "x"}} f))

(defn download
  "Copies a response of any size to `file`: the socket is read no faster than the file is written."
  [url file]
  (let [{:keys [body error]} @(http/get url {:as :stream})]
    (when error (throw error))
    (with-open [in body, out (io/output-stream file)]
      (io/copy in out))
    (.length (io/file file))))

(defn upload
  "Sends a file as it is read. Fails if that takes longer than a minute."
  [url file]
  (:status @(http/put url {:body (io/file file) :deadline 60000})))

(defn form [url]
  (:body @(http/post url {:form-params {:name "Ada" :languages ["en" "fr"]}})))
