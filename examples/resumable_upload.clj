(ns resumable-upload
  "Uploads that resume where they broke off: the core of tus 1.0 (https://tus.io), which its clients speak.

    curl -i -X POST -H 'Upload-Length: 11' localhost:8090/              # 201, Location: /<id>
    curl -i -X PATCH -H 'Upload-Offset: 0' --data-binary 'hello ' localhost:8090/<id>
    curl -I localhost:8090/<id>                                         # Upload-Offset: 6

  A file holds what has arrived, as it arrives: its length is the offset. So nothing else has to be
  remembered, and an upload can continue after a restart of the server."
  (:require [clojure.java.io    :as io]
            [org.httpkit.server :as server])
  (:import (java.io File FileOutputStream InputStream)
           (org.httpkit ProtocolException)
           (java.net SocketTimeoutException)
           (java.util UUID)))

(def ^:private max-size (* 10 1024 1024 1024))

(def ^:private headers {"Tus-Resumable" "1.0.0", "Cache-Control" "no-store"})

(defn- response [status & {:as more}]
  {:status status, :headers (merge headers more)})

(defn- number
  "That of a header; nil without one."
  [request header]
  (some->> (get-in request [:headers header]) (re-matches #"\d{1,18}") (Long/parseLong)))

(defn- files
  "The file of an upload and that with its length; nil if there is none."
  [^File folder uri]
  (when-let [[_ id] (re-matches #"/([0-9a-f-]{36})" uri)]
    (let [data (io/file folder id), total (io/file folder (str id ".length"))]
      (when (and (.isFile data) (.isFile total))
        {:id id, :data data, :total (Long/parseLong (slurp total))}))))

(defn- create [folder request]
  (let [id (str (UUID/randomUUID)), total (number request "upload-length")]
    (cond
      (nil? total)       (response 400)
      (< max-size total) (response 413 "Tus-Max-Size" max-size)
      :else              (do (spit (io/file folder (str id ".length")) total)
                             (spit (io/file folder id) "")
                             (response 201 "Location" (str "/" id), "Upload-Offset" "0")))))

(defn- append!
  "Adds to the file what comes, at most `most` bytes."
  [^InputStream body ^File file ^long most]
  (with-open [out (FileOutputStream. file true)]
    (let [buffer (byte-array 65536)]
      (loop [left most]
        (let [n (long (if (and body (pos? left)) (.read body buffer 0 (int (min left (alength buffer)))) -1))]
          (when (pos? n)
            (.write out buffer 0 (int n))
            (recur (- left n))))))))

(defn- patch [{:keys [^File data total]} request]
  (cond
    (not= (number request "upload-offset") (.length data))
    (response 409 "Upload-Offset" (.length data))

    (< (- total (.length data)) (or (:content-length request) 0))
    (response 413)

    :else
    (do (try (append! (:body request) data (- total (.length data)))
             ;; The client has left, or sends nothing more: what it has sent is in the file.
             (catch ProtocolException _)
             (catch SocketTimeoutException _))
        (response 204 "Upload-Offset" (.length data)))))

(defn- respond [folder busy {:keys [request-method uri] :as request}]
  (let [{:keys [id ^File data total] :as upload} (files folder uri)]
    (cond
      (= [:post "/"] [request-method uri]) (create folder request)
      (= :options request-method)          (response 204 "Tus-Version" "1.0.0", "Tus-Extension" "creation", "Tus-Max-Size" max-size)
      (nil? upload)                        (response 404)
      (= :head request-method)             (response 200 "Upload-Offset" (.length data), "Upload-Length" total)
      (not= :patch request-method)         (response 405)
      ;; One request at a time may write; the connection of an earlier one may seem to be open for a while.
      (let [[before _] (swap-vals! busy conj id)] (before id)) (response 423)
      :else (try (patch upload request)
                 (finally (swap! busy disj id))))))

(defn start
  "Keeps uploads in `:folder`. Takes the options of `run-server` besides."
  [{:keys [folder] :as options}]
  (let [folder (io/file folder), busy (atom #{})]
    (.mkdirs folder)
    (server/run-server #(respond folder busy %)
                       (merge {:request-buffer-size 65536, :max-body nil} (dissoc options :folder)))))

(defn -main [& [port]]
  (start {:port (Long/parseLong (or port "8090")) :folder "uploads"}))
