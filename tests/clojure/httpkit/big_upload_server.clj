(ns httpkit.big-upload-server
  "A server that takes long uploads in a small heap, in a process of its own."
  (:require [org.httpkit.server :as server]
            [ring.middleware.multipart-params :refer [wrap-multipart-params]])
  (:import (java.io ByteArrayInputStream File FileOutputStream InputStream OutputStream SequenceInputStream)
           (java.util Collections)
           (org.apache.commons.io.input BoundedInputStream)))

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

(def ^:private boundary "----x")

(defn- form
  "A multipart form with a file of `n` bytes, out of nothing."
  ^InputStream [^long n]
  (let [zeros (proxy [InputStream] []
                (read
                  ([] 120)
                  ([^bytes buffer] (alength buffer))
                  ([_ _ len] len)))
        text  #(ByteArrayInputStream. (.getBytes ^String %))]
    (SequenceInputStream.
      (Collections/enumeration
        [(text (str "--" boundary "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big\"\r\n"
                 "Content-Type: application/octet-stream\r\n\r\n"))
         (BoundedInputStream. zeros n)
         (text (str "\r\n--" boundary "--\r\n"))]))))

(defn- parser-alone [n]
  (multipart {:headers {"content-type" (str "multipart/form-data; boundary=" boundary)}
              :body    (form n)}))

(defn- handler [{:keys [uri body query-string] :as req}]
  (case uri
    "/multipart" (multipart req)
    "/parser"    (parser-alone (parse-long query-string))
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
