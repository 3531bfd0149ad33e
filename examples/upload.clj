(ns upload
  "A file as a request body: curl -T photo.jpg localhost:8090/photo.jpg

  Bodies over `:max-body` are refused with 413 before their content is read."
  (:require [clojure.java.io    :as io]
            [org.httpkit.server :as server])
  (:import (java.io File)))

(defn- safe-name
  "The last segment of the path, or nil if that is no plain file name."
  [uri]
  (re-matches #"[A-Za-z0-9_-][A-Za-z0-9._-]*" (subs uri (inc (.lastIndexOf ^String uri "/")))))

(defn- text [status message]
  {:status status, :headers {"Content-Type" "text/plain; charset=utf-8"}, :body (str message "\n")})

(defn- save [{:keys [uri body]} ^File folder]
  (if-let [file-name (safe-name uri)]
    (let [file (io/file folder file-name)]
      (with-open [out (io/output-stream file)]
        (when body (io/copy body out)))
      (text 201 (str "saved " (.length file) " bytes as " file-name)))
    (text 400 "The path must end in a plain file name.")))

(defn- fetch [{:keys [uri]} ^File folder]
  (let [file (some->> (safe-name uri) (io/file folder))]
    (if (and file (.isFile ^File file))
      {:status 200, :headers {"Content-Type" "application/octet-stream"}, :body file}
      (text 404 "No such file."))))

(defn start
  "Stores files in `:folder`. Takes the options of `run-server` besides; bodies are limited to 64 MiB unless they say otherwise."
  [{:keys [folder] :as options}]
  (let [folder (io/file folder)]
    (.mkdirs folder)
    (server/run-server
      (fn [request]
        (case (:request-method request)
          (:put :post) (save request folder)
          (:get :head) (fetch request folder)
          (text 405 "GET or PUT")))
      (merge {:max-body (* 64 1024 1024)} (dissoc options :folder)))))

(defn -main [& [port]]
  (start {:port (Long/parseLong (or port "8090")) :folder "uploads"}))
