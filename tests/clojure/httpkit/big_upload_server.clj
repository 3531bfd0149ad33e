(ns httpkit.big-upload-server
  "A server that takes long uploads in a small heap, in a process of its own."
  (:require [org.httpkit.server :as server]
            [ring.middleware.multipart-params :refer [wrap-multipart-params]])
  (:import (java.io File FileOutputStream InputStream OutputStream)))

(set! *warn-on-reflection* true)

(def ^:private multipart
  (wrap-multipart-params
    (fn [{{{:keys [^File tempfile size]} "file"} :multipart-params}]
      (let [length (.length tempfile)]
        (.delete tempfile)
        {:status 200 :body (str size " " length)}))))

(defn- save [^InputStream body]
  (let [file (File/createTempFile "upload" ".bin")]
    (try
      (with-open [out (FileOutputStream. file)]
        (.transferTo body out))
      {:status 200 :body (str (.length file))}
      (finally (.delete file)))))

(defn- handler [{:keys [uri body] :as req}]
  (case uri
    "/multipart" (multipart req)
    "/count"     {:status 200 :body (str (.transferTo ^InputStream body (OutputStream/nullOutputStream)))}
    "/file"      (save body)
    "/echo"      {:status 200 :body body}
    {:status 200 :body "ok"}))

(defn -main
  "Prints the port."
  []
  (let [stop (server/run-server handler {:port 0 :ip "127.0.0.1" :request-buffer-size 65536 :max-body nil
                                         :n-max-threads 200})]
    (println (:local-port (meta stop)))
    (flush)))
